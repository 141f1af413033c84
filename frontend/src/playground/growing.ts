/** A text that grows at its end, in chunks of which only the last one changes: the others are rendered once. */

const CHUNK = 1500;
const LONGEST = 4000;

export class Growing {
  readonly done: string[] = [];
  last = "";
  length = 0;

  push(text: string): void {
    this.last += text;
    this.length += text.length;
    if (this.last.length < CHUNK) return;
    for (let end = cutOf(this.last); end > 0; end = cutOf(this.last)) {
      this.done.push(this.last.slice(0, end));
      this.last = this.last.slice(end);
    }
  }

  get text(): string {
    return this.done.join("") + this.last;
  }

  get isEmpty(): boolean {
    return this.length === 0;
  }

  static of(text: string): Growing {
    const growing = new Growing();
    growing.push(text);
    return growing;
  }
}

/** Where the first chunk of a text ends: after a blank line outside code, or between words if there is none. */
function cutOf(text: string): number {
  if (text.length < CHUNK) return 0;
  let isCode = false;
  let start = 0;
  while (start < text.length) {
    const end = text.indexOf("\n", start);
    if (end < 0) break;
    const line = text.slice(start, end);
    if (/^\s*(```|~~~)/.test(line)) isCode = !isCode;
    start = end + 1;
    if (!isCode && start >= CHUNK / 2 && line.trim() === "") return start;
  }
  if (text.length < LONGEST) return 0;
  const space = text.lastIndexOf(" ", LONGEST);
  return space > 0 ? space + 1 : LONGEST;
}
