/** Calipers, wall end points and the ruler: points on a frame and what they mean in mm. */
import { api } from "../api/client";
import type { Caliper, Point } from "../api/types";
import { RV_DIAMETER, WALL_DISTANCES, WALL_POINTS } from "../api/vocabulary";
import { distance, distanceMm } from "../imaging/geometry";
import { app } from "../state/app.svelte";
import type { Review } from "../state/review.svelte";

export interface Line {
  from: Point;
  to: Point;
}

/** Where the end of a line is being dragged. */
export type Grip = { kind: "caliper"; id: string; end: "from" | "to" } | { kind: "wall"; point: string };

export class Distances {
  calipers = $state.raw<Caliper[]>([]);
  /** The four wall end points by frame, where a person has moved them and the server has not answered yet. */
  moved = $state.raw<Record<string, Record<string, Point>>>({});
  ruler = $state.raw<Line | null>(null);
  private next = 1;

  constructor(private readonly review: Review) {}

  async load(): Promise<void> {
    const clip = this.review.clip;
    this.calipers = [];
    this.ruler = null;
    if (!clip) return;
    try {
      const found = await api.calipers(this.review.study, clip.clip);
      if (this.review.clip?.clip === clip.clip) this.calipers = found;
    } catch (error) {
      app.fail(error);
    }
  }

  /** Length with its unit, or in pixels with no unit of length where the clip is not calibrated. */
  text({ from, to }: Line): string {
    const mm = distanceMm(from, to, this.review.clip?.spacing ?? null);
    return mm === null ? `${distance(from, to).toFixed(0)} px` : `${mm.toFixed(1)} mm`;
  }

  /** Why there are no millimetres; empty where there are. */
  get refusal(): string {
    const clip = this.review.clip;
    if (!clip || clip.spacing) return "";
    return `No millimetres: ${clip.spacing_reason || "this clip has no calibration"}. Calibrate on the ruler (R).`;
  }

  at(frame: number): Caliper[] {
    return this.calipers.filter((caliper) => caliper.frame === frame);
  }

  async add(from: Point, to: Point): Promise<void> {
    const { player } = this.review;
    if (!player || distance(from, to) < 2) return;
    while (this.calipers.some((one) => one.id === `d${this.next}`)) this.next++;
    const caliper: Caliper = { id: `d${this.next}`, frame: player.frame, from, to, name: `Distance ${this.next}` };
    this.calipers = [...this.calipers, caliper];
    await this.keep(caliper);
  }

  private async keep(caliper: Caliper): Promise<void> {
    const { clip, study } = this.review;
    if (!clip) return;
    try {
      const { id, frame, from, to, name } = caliper;
      await api.putCaliper(study, clip.clip, { id, frame, from, to, name });
    } catch (error) {
      app.fail(error);
    }
  }

  async removeLast(): Promise<void> {
    const { clip, study, player } = this.review;
    const last = this.at(player?.frame ?? -1).pop();
    if (!clip || !last) return;
    this.calipers = this.calipers.filter((one) => one.id !== last.id);
    try {
      await api.deleteCaliper(study, clip.clip, last.id);
    } catch (error) {
      app.fail(error);
    }
  }

  /** The wall end points on a frame: moved here, measured, or none. */
  walls(frame: number): Record<string, Point> | null {
    const clip = this.review.clip;
    if (!clip) return null;
    const moved = this.moved[`${clip.clip}@${frame}`];
    if (moved) return moved;
    for (const measurement of clip.measurements) {
      for (const { points_xy } of measurement.evidence) {
        const found = WALL_POINTS.map((point) => points_xy[`${point}@${frame}`]);
        if (found.every((point) => point !== undefined)) {
          return Object.fromEntries(WALL_POINTS.map((point, i) => [point, found[i] as Point]));
        }
      }
    }
    return null;
  }

  /** Four points on this frame to begin with, in the middle of the picture. */
  async placeWalls(): Promise<void> {
    const { clip, player } = this.review;
    if (!clip || !player || this.walls(player.frame)) return;
    const [height, width] = clip.size;
    const places = [0.34, 0.4, 0.6, 0.66];
    this.set(player.frame, Object.fromEntries(WALL_POINTS.map((point, i) => [point, [width / 2, height * (places[i] ?? 0)] as Point])));
    await this.keepWalls(player.frame);
  }

  wallLines(points: Record<string, Point>): (Line & { name: string })[] {
    return WALL_DISTANCES.map((name, i) => ({
      name,
      from: points[WALL_POINTS[i] as string] as Point,
      to: points[WALL_POINTS[i + 1] as string] as Point,
    }));
  }

  /** The RV internal diameter on a frame; none where it was not measured, or the walls it follows are being moved. */
  rvLine(frame: number): (Line & { name: string }) | null {
    const clip = this.review.clip;
    if (!clip || this.moved[`${clip.clip}@${frame}`]) return null;
    for (const measurement of clip.measurements) {
      for (const { points_xy } of measurement.evidence) {
        const [from, to] = RV_DIAMETER.points.map((point) => points_xy[`${point}@${frame}`]);
        if (from && to) return { name: RV_DIAMETER.name, from, to };
      }
    }
    return null;
  }

  private set(frame: number, points: Record<string, Point>): void {
    if (this.review.clip) this.moved = { ...this.moved, [`${this.review.clip.clip}@${frame}`]: points };
  }

  /** The grip under a point of the frame, within a reach in native pixels. */
  gripAt(frame: number, point: Point, reach: number, walls: boolean): Grip | null {
    const found: { grip: Grip; away: number }[] = [];
    for (const one of this.at(frame)) {
      for (const end of ["from", "to"] as const) {
        found.push({ grip: { kind: "caliper", id: one.id, end }, away: distance(one[end], point) });
      }
    }
    if (walls) {
      for (const [name, place] of Object.entries(this.walls(frame) ?? {})) {
        found.push({ grip: { kind: "wall", point: name }, away: distance(place, point) });
      }
    }
    found.sort((a, b) => a.away - b.away);
    return found[0] && found[0].away <= reach ? found[0].grip : null;
  }

  drag(grip: Grip, frame: number, to: Point): void {
    if (grip.kind === "caliper") {
      this.calipers = this.calipers.map((one) => (one.id === grip.id ? { ...one, [grip.end]: to } : one));
    } else {
      this.set(frame, { ...this.walls(frame), [grip.point]: to });
    }
  }

  async drop(grip: Grip, frame: number): Promise<void> {
    if (grip.kind === "wall") return this.keepWalls(frame);
    const caliper = this.calipers.find((one) => one.id === grip.id);
    if (caliper) await this.keep(caliper);
  }

  private async keepWalls(frame: number): Promise<void> {
    const { clip, study } = this.review;
    const points = this.walls(frame);
    if (!clip || !points) return;
    await this.review.during("Measuring again", async () => {
      this.review.apply(await api.putWalls(study, clip.clip, frame, points));
    });
  }

  /** Sets the calibration from the line on the ruler and its length. */
  async calibrate(mm: number): Promise<void> {
    if (!this.ruler || !(mm > 0)) return;
    // pixels that are known not to be square keep their shape
    const spacing = this.review.clip?.spacing ?? null;
    const shape = { row_mm: 1, column_mm: spacing ? spacing.column_mm / spacing.row_mm : 1 };
    const row_mm = mm / (distanceMm(this.ruler.from, this.ruler.to, shape) ?? 1);
    const column_mm = row_mm * shape.column_mm;
    await this.review.correct({ calibration: { row_mm, column_mm, source: "set by hand on the ruler" } });
    this.ruler = null;
    this.review.tool = "look";
  }
}
