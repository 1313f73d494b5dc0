/** What is drawn over a frame: outlines, the mask in work, points and distances. All in CSS pixels of the pane. */
import type { Caliper, Contours, Evidence, Point } from "../api/types";
import { COLOUR_OF, STRUCTURES } from "../api/vocabulary";
import { type Placement, toScreen } from "../imaging/geometry";

const FONT = '600 12px Inter, "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif';

export class Drawing {
  constructor(
    private readonly context: CanvasRenderingContext2D,
    private readonly placement: Placement,
  ) {}

  outline(parts: readonly Point[][], colour: string, opacity: number, width = 1.75, dash: number[] = []): void {
    const { context } = this;
    context.beginPath();
    for (const part of parts) {
      part.forEach((point, i) => {
        const [x, y] = toScreen(this.placement, point);
        if (i === 0) context.moveTo(x, y);
        else context.lineTo(x, y);
      });
      context.closePath();
    }
    if (opacity > 0) {
      context.globalAlpha = opacity;
      context.fillStyle = colour;
      context.fill("evenodd");
      context.globalAlpha = 1;
    }
    context.setLineDash(dash);
    context.lineWidth = width;
    context.lineJoin = "round";
    context.strokeStyle = colour;
    context.stroke();
    context.setLineDash([]);
  }

  contours(found: Contours | undefined, frame: number, hidden: Record<string, boolean>, opacity: number, except: string | null): void {
    for (const { key, colour } of STRUCTURES) {
      const parts = found?.structures[key]?.[String(frame)];
      if (parts && !hidden[key] && key !== except) this.outline(parts, colour, opacity);
    }
  }

  inWork(parts: readonly Point[][], structure: string, opacity: number): void {
    this.outline(parts, COLOUR_OF[structure] ?? "#fff", Math.max(opacity, 0.22), 2.25);
  }

  evidence(evidence: Evidence, frame: number): void {
    for (const [name, contour] of Object.entries(evidence.contours_xy)) {
      const [structure, at] = name.split("@");
      if (Number(at) === frame) this.outline([contour], COLOUR_OF[structure ?? ""] ?? "#fff", 0, 3, [7, 4]);
    }
  }

  handles(points: readonly Point[], active: number): void {
    points.forEach((point, i) => this.dot(point, i === active ? 6 : 4, "#fff", "#0b0f13"));
  }

  clicks(clicks: readonly { x: number; y: number; positive: boolean }[]): void {
    const { context } = this;
    for (const { x, y, positive } of clicks) {
      this.dot([x, y], 6.5, positive ? "#37d67a" : "#ff5c5c", "#0b0f13");
      const [sx, sy] = toScreen(this.placement, [x, y]);
      context.strokeStyle = "#0b0f13";
      context.lineWidth = 1.75;
      context.beginPath();
      context.moveTo(sx - 3, sy);
      context.lineTo(sx + 3, sy);
      if (positive) {
        context.moveTo(sx, sy - 3);
        context.lineTo(sx, sy + 3);
      }
      context.stroke();
    }
  }

  box(from: Point, to: Point): void {
    const [x0, y0] = toScreen(this.placement, from);
    const [x1, y1] = toScreen(this.placement, to);
    this.context.setLineDash([5, 4]);
    this.context.lineWidth = 1.5;
    this.context.strokeStyle = "#fff";
    this.context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    this.context.setLineDash([]);
  }

  ring(at: Point, radius: number, erase: boolean): void {
    const [x, y] = toScreen(this.placement, at);
    this.context.beginPath();
    this.context.arc(x, y, radius * this.placement.scale, 0, 2 * Math.PI);
    this.context.lineWidth = 1.5;
    this.context.strokeStyle = erase ? "#ff9a92" : "#fff";
    this.context.stroke();
  }

  caliper(caliper: Caliper, text: string): void {
    this.line(caliper.from, caliper.to, text, "#ffe08a");
  }

  line(from: Point, to: Point, text: string, colour: string): void {
    const { context } = this;
    const [a, b] = [toScreen(this.placement, from), toScreen(this.placement, to)];
    for (const [style, width] of [["rgb(0 0 0 / 60%)", 4] as const, [colour, 1.75] as const]) {
      context.beginPath();
      context.moveTo(...a);
      context.lineTo(...b);
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
    this.dot(from, 4.5, colour, "#0b0f13");
    this.dot(to, 4.5, colour, "#0b0f13");
    this.label([(a[0] + b[0]) / 2 + 10, (a[1] + b[1]) / 2 - 4], text, colour);
  }

  private dot(point: Point, radius: number, colour: string, edge: string): void {
    const [x, y] = toScreen(this.placement, point);
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.context.fillStyle = colour;
    this.context.fill();
    this.context.lineWidth = 1.5;
    this.context.strokeStyle = edge;
    this.context.stroke();
  }

  private label([x, y]: Point, text: string, colour: string): void {
    const { context } = this;
    context.font = FONT;
    const width = context.measureText(text).width;
    context.fillStyle = "rgb(8 12 15 / 78%)";
    context.beginPath();
    context.roundRect(x - 5, y - 13, width + 10, 19, 4);
    context.fill();
    context.fillStyle = colour;
    context.fillText(text, x, y + 1);
  }
}
