/** JSON pointers in the server's messages, and their lines in a schema's text. */

const POINTER = /(?:^|[\s'"(`])(#?(?:\/[^\s'"`,:;)]+)+)/;

/** The pointer that an error names: in its `param`, after the path of the schema, or in its message. */
export function pointerIn(param: string, message: string): string {
  const inSchema = param.match(/(?:\.schema|guided_json|structured_outputs\.json)([.[].*)$/)?.[1];
  if (inSchema) return pointerOf(inSchema);
  return message.match(POINTER)?.[1]?.replace(/^#/, "").replace(/\.$/, "") ?? "";
}

/** `.properties.city` or `.anyOf[1]` as `/properties/city` and `/anyOf/1`. */
function pointerOf(path: string): string {
  return path.replace(/\[(\d+)\]/g, ".$1").replaceAll(".", "/");
}

/** The line, from 0 on, of a pointer's value in a JSON text; null if the text has no such value. */
export function lineOf(text: string, pointer: string): number | null {
  const wanted = pointer
    .split("/")
    .slice(1)
    .map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));
  let position = 0;
  for (let depth = wanted.length; depth > 0; depth -= 1) {
    const found = positionOf(text, wanted.slice(0, depth));
    if (found === null) continue;
    position = found;
    break;
  }
  return position ? text.slice(0, position).split("\n").length - 1 : null;
}

/** Where the value of a path begins. The text is valid JSON, so a scan of its tokens is enough. */
function positionOf(text: string, wanted: string[]): number | null {
  const path: (string | number)[] = [];
  let key: string | null = null;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]/g)) {
    if (token === "{") path.push("");
    else if (token === "[") path.push(0);
    else if (token === "}" || token === "]") path.pop();
    else if (token === ",") {
      const last = path.at(-1);
      if (typeof last === "number") path[path.length - 1] = last + 1;
    } else if (token === ":" && key !== null) path[path.length - 1] = key;
    else key = JSON.parse(token) as string;
    const isBeforeValue = token === ":" || token === "," || token === "[";
    if (isBeforeValue && path.length === wanted.length && path.every((part, depth) => String(part) === wanted[depth]))
      return index + 1 + text.slice(index + 1).search(/\S/);
  }
  return null;
}
