/** Colours of the points of the map, with their legend. */
import type { MapPoint } from "../api/types";

export interface Colouring {
  colour: (point: MapPoint) => string;
  legend: { label: string; colour: string }[];
}

const UNKNOWN = "#8794a0";
const LIGHTNESS = { dark: 0.76, light: 0.56 } as const;
const EF_BANDS: [number, string, string][] = [
  [30, "below 30 %", "#e4574f"],
  [40, "30 to 40 %", "#e98b3f"],
  [52, "40 to 52 %", "#d6b23c"],
  [Infinity, "52 % and more", "#3fae7d"],
];

/** One colour for each view or vendor, four bands for the ejection fraction. */
export function colouringOf(points: readonly MapPoint[], by: "view" | "ef" | "vendor", theme: "dark" | "light"): Colouring {
  if (by === "ef") {
    return {
      colour: ({ ef_percent: ef }) => (ef === null ? UNKNOWN : (EF_BANDS.find(([to]) => ef < to)?.[2] ?? UNKNOWN)),
      legend: [...EF_BANDS.map(([, label, colour]) => ({ label, colour })), { label: "not measured", colour: UNKNOWN }],
    };
  }
  const names = [...new Set(points.map((point) => point[by] ?? ""))].sort();
  const known = names.filter((name) => name !== "");
  // hues by the golden angle, so that neighbours in the list differ
  const colours = new Map(known.map((name, i) => [name, `oklch(${LIGHTNESS[theme]} ${i % 2 ? 0.1 : 0.15} ${(25 + i * 137.5) % 360})`]));
  const legend = known.map((name) => ({ label: name.replaceAll("_", " "), colour: colours.get(name) ?? UNKNOWN }));
  if (names.includes("")) legend.push({ label: "unknown", colour: UNKNOWN });
  return { colour: (point) => colours.get(point[by] ?? "") ?? UNKNOWN, legend };
}
