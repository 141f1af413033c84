// What the TypeScript programs of this folder offer a model: two tools; and the types that they want answers in.

import { z } from "zod";

export const River = z.object({ name: z.string().max(30), km: z.number().int().min(0).max(9000) });

export const Place = z.object({
  name: z.string().max(30),
  kind: z.enum(["city", "town", "village"]),
  rivers: z.array(River).max(2),
  twin: z.string().max(30).nullable(),
});

export const Country = z.object({ country: z.string().max(40) });
export const CityAndUnit = z.object({ city: z.string().max(40), unit: z.enum(["celsius", "fahrenheit"]) });

export const told = {
  capital_of: "The capital of a country",
  weather: "The temperature in a city",
};

/** How often a real model is asked what it must always do. */
export const TRIES = 2;

export type Call = [name: string, args: unknown];

/** The two tools, which note what they are called with. */
export function tools(ran: Call[] = []) {
  return {
    capital_of(args: z.infer<typeof Country>): string {
      ran.push(["capital_of", args]);
      if (args.country !== "Côte d'Ivoire") throw new Error(args.country);
      return "Yamoussoukro";
    },
    weather(args: z.infer<typeof CityAndUnit>): string {
      ran.push(["weather", args]);
      if (args.city !== "Yamoussoukro" || args.unit !== "celsius") throw new Error(`${args.city} ${args.unit}`);
      return "31";
    },
  };
}

export function isWeather([name, args]: Call): boolean {
  return name === "weather" && CityAndUnit.strict().safeParse(args).success;
}
