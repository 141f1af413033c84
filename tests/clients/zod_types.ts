// Types as zod's documentation has them, each with a value: their JSON schemas as one JSON object.
//
// Every name begins with the page and section of the documentation. The value is JSON that zod itself accepts.

import * as z from "zod";

const types: Record<string, [z.ZodType, unknown]> = {};

function note(name: string, type: z.ZodType, example: unknown) {
  types[name] = [type, example];
}

// --- basics ---

const Player = z.object({ username: z.string(), xp: z.number() });
note("basics: object", Player, { username: "billie", xp: 100 });

// --- strings ---

note("api/strings: min and max", z.string().min(5).max(10), "héllo");
note("api/strings: regex", z.string().regex(/^[a-z]{2}-\d+$/), "ab-12");
note("api/strings: startsWith and endsWith", z.string().startsWith("fourscore").endsWith("ago"), "fourscore years ago");
note("api/strings: includes", z.string().includes("---"), "a---b");
note("api/strings: lowercase", z.string().lowercase(), "abc");
note("api/strings: trim", z.string().trim().toLowerCase(), "abc");
note("api/string formats: email", z.email(), "ada@example.com");
note("api/string formats: uuid", z.uuid(), "ebcdab58-6eb8-46fb-a190-d07a33e9eac8");
note("api/string formats: url", z.url(), "https://example.com/a?b=c");
note("api/string formats: iso.datetime", z.iso.datetime(), "2020-01-01T06:15:00Z");
note("api/string formats: iso.datetime with offset", z.iso.datetime({ offset: true }), "2020-01-01T06:15:00+02:00");
note("api/string formats: iso.date", z.iso.date(), "2020-01-01");
note("api/string formats: iso.duration", z.iso.duration(), "P3Y6M4D");
note("api/string formats: ipv4", z.ipv4(), "192.168.0.0");
note("api/string formats: cidrv4", z.cidrv4(), "192.168.0.0/24");
note("api/string formats: base64", z.base64(), "aGVsbG8=");
note("api/string formats: nanoid", z.nanoid(), "V1StGXR8_Z5jdHi6B-myT");
note("api/string formats: emoji", z.emoji(), "🎉");
note("api/string formats: hash", z.hash("md5"), "d41d8cd98f00b204e9800998ecf8427e");
note("api/template literals: with a number", z.templateLiteral(["h", z.int(), "px"]), "h12px");

// --- numbers and literals ---

note("api/numbers: bounds", z.number().gt(5).lte(10.5), 7.25);
note("api/numbers: multipleOf", z.number().multipleOf(5).positive(), 25);
note("api/integers: int", z.int(), -7);
note("api/integers: int32", z.int32(), 2147483647);
note("api/literals: several", z.literal(["red", 1, null]), "red");
note("api/enums: extract", z.enum(["Salmon", "Tuna", "Trout"]).extract(["Salmon", "Trout"]), "Trout");
note("api/booleans: boolean", z.boolean(), true);
note("api/stringbools: stringbool", z.stringbool(), "yes");

// --- optionals, defaults, brands, refinements ---

note("api/optionals: optional", z.object({ a: z.string().optional(), b: z.int() }), { b: 1 });
note("api/optionals: optional union", z.object({ a: z.union([z.string(), z.int()]).optional() }), { a: 2 });
note("api/nullables: nullable", z.object({ a: z.string().nullable() }), { a: null });
note("api/nullish: nullish", z.object({ a: z.int().nullish(), b: z.boolean() }), { a: null, b: false });
note(
  "api/defaults: default",
  z.object({ a: z.string().default("tuna"), b: z.number().prefault(3) }),
  { a: "x", b: 1.5 },
);
note("api/catch: catch", z.object({ n: z.number().catch(42) }), { n: 1 });
note("api/branded types: brand", z.object({ name: z.string() }).brand<"Cat">(), { name: "Simba" });
note("api/readonly: readonly", z.object({ name: z.string() }).readonly(), { name: "fido" });
note(
  "api/refinements: refine",
  z.object({ password: z.string().refine((text) => text.length > 3) }),
  { password: "long" },
);
note(
  "api/refinements: superRefine",
  z.array(z.string()).superRefine((all, context) => {
    if (new Set(all).size < all.length) context.addIssue({ code: "custom", message: "twice" });
  }),
  ["a", "b"],
);
note("api/pipes: transform", z.string().pipe(z.transform((text) => text.length)), "three");

// --- objects ---

note("api/objects: strictObject", z.strictObject({ name: z.string(), age: z.number() }), { name: "Ada", age: 36 });
note("api/objects: looseObject", z.looseObject({ name: z.string() }), { name: "Ada", more: [1] });
note("api/objects: catchall", z.object({ name: z.string() }).catchall(z.int()), { name: "Ada", more: 1 });
note(
  "api/objects: partial",
  Player.partial({ xp: true }).extend({ tags: z.array(z.string()) }),
  { username: "a", tags: [] },
);
note("api/objects: pick and required", Player.partial().required({ xp: true }).pick({ xp: true }), { xp: 2 });

interface CategoryValue {
  name: string;
  subcategories: CategoryValue[];
}
const Category: z.ZodType<CategoryValue> = z.object({
  name: z.string(),
  subcategories: z.lazy(() => z.array(Category)),
});
note("api/lazy: recursive", Category, { name: "a", subcategories: [{ name: "b", subcategories: [] }] });

const User = z.object({
  email: z.string(),
  get posts() {
    return z.array(Post);
  },
});
const Post = z.object({
  title: z.string(),
  get author() {
    return User.nullable();
  },
});
note("api/recursive objects: mutually", User, { email: "a", posts: [{ title: "b", author: null }] });

// --- arrays, tuples, unions, records ---

note("api/arrays: min and max", z.array(z.string()).min(1).max(2), ["a", "b"]);
note("api/tuples: tuple", z.tuple([z.string(), z.number(), z.boolean()]), ["a", 1.5, true]);
note("api/tuples: rest", z.tuple([z.string()]).rest(z.int()), ["a", 1, 2]);
note("api/unions: union", z.union([z.string(), z.number(), z.object({ a: z.null() })]), { a: null });
note(
  "api/discriminated unions: discriminatedUnion",
  z.discriminatedUnion("status", [
    z.object({ status: z.literal("success"), data: z.string() }),
    z.object({ status: z.literal("failed"), error: z.string() }),
  ]),
  { status: "failed", error: "no" },
);
const Failure = z.object({ status: z.literal("failed"), message: z.string() });
note(
  "api/discriminated unions: nested",
  z.discriminatedUnion("status", [
    z.object({ status: z.literal("success"), data: z.string() }),
    z.discriminatedUnion("code", [
      Failure.extend({ code: z.literal(400) }),
      Failure.extend({ code: z.literal(500), retry: z.boolean() }),
    ]),
  ]),
  { status: "failed", message: "no", code: 500, retry: true },
);
note(
  "api/intersections: intersection",
  z.intersection(z.object({ name: z.string() }), z.object({ role: z.enum(["admin", "user"]) })),
  { name: "Ada", role: "admin" },
);
note("api/records: record", z.record(z.string(), z.int()), { a: 1, b: 2 });
note("api/records: record of an enum", z.record(z.enum(["id", "name"]), z.string()), { id: "1", name: "a" });
note("api/records: partialRecord", z.partialRecord(z.enum(["id", "name"]), z.string()), { name: "a" });
note("api/records: record of a pattern", z.record(z.string().regex(/^x_/), z.boolean()), { x_a: true });
note("api/json: json", z.json(), { a: [1, null, "b"] });
note("api/unknown: unknown", z.object({ a: z.unknown(), b: z.any() }), { a: 1, b: [] });
note("api/never: never", z.object({ a: z.int(), b: z.never().optional() }), { a: 1 });

// --- metadata ---

note("metadata: meta", z.object({ a: z.string().meta({ title: "A", examples: ["x"] }) }).describe("One."), { a: "x" });
note(
  "json schema: reused definitions",
  z.object({ from: z.string().meta({ id: "Place" }), to: z.string().meta({ id: "Town" }) }),
  { from: "a", to: "b" },
);

const described: Record<string, { schema: unknown; example: unknown }> = {};
for (const [name, [type, example]] of Object.entries(types)) {
  type.parse(example);
  described[name] = { schema: z.toJSONSchema(type, { io: "input" }), example };
}
console.log(JSON.stringify(described));
