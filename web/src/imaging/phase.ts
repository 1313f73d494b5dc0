/** Phase of the beat, so that two clips of other frame rates and heart rates move in step.
 *
 * Whole numbers are events: 0, 2, 4 … are end-diastoles, 1, 3, 5 … the end-systoles between them. Between events the
 * phase is linear in time; before the first and after the last event it goes on with systoles and diastoles that last as
 * long as those of the clip on average.
 */
export interface Timed {
  times: readonly number[];
  edFrames: readonly number[];
  esFrames: readonly number[];
}

interface Event {
  time: number;
  phase: number;
}

const SYSTOLE_SHARE = 0.4;

/** Events in time with their phase. Two events in a row of one kind count as a whole beat. */
export function phaseEvents({ times, edFrames, esFrames }: Timed): Event[] {
  const found = [
    ...edFrames.map((frame) => ({ time: times[frame] ?? 0, systole: false })),
    ...esFrames.map((frame) => ({ time: times[frame] ?? 0, systole: true })),
  ].sort((a, b) => a.time - b.time);
  const events: Event[] = [];
  for (const { time, systole } of found) {
    const last = events[events.length - 1];
    if (!last) {
      events.push({ time, phase: systole ? 1 : 0 });
      continue;
    }
    if (time <= last.time) continue;
    const lastSystole = Math.abs(last.phase % 2) === 1;
    events.push({ time, phase: last.phase + (lastSystole === systole ? 2 : 1) });
  }
  return events;
}

function withTwo(timed: Timed): Event[] {
  const events = phaseEvents(timed);
  const begin = timed.times[0] ?? 0;
  const end = timed.times[timed.times.length - 1] ?? 1;
  const beat = Math.max(end - begin, 1e-3);
  if (events.length === 0) return [{ time: begin, phase: 0 }, { time: begin + beat, phase: 2 }];
  if (events.length === 1) {
    const only = events[0] as Event;
    const share = only.phase === 0 ? SYSTOLE_SHARE : 1 - SYSTOLE_SHARE;
    return [only, { time: only.time + share * beat, phase: only.phase + 1 }];
  }
  return events;
}

/** The events with some more before and after them. */
function continued(events: Event[]): Event[] {
  const systoles: number[] = [];
  const diastoles: number[] = [];
  for (let i = 0; i + 1 < events.length; i++) {
    const [a, b] = [events[i] as Event, events[i + 1] as Event];
    const seconds = b.time - a.time;
    const whole = b.phase - a.phase === 2;
    if (whole || a.phase % 2 === 0) systoles.push(whole ? SYSTOLE_SHARE * seconds : seconds);
    if (whole || a.phase % 2 !== 0) diastoles.push(whole ? (1 - SYSTOLE_SHARE) * seconds : seconds);
  }
  const mean = (list: number[]) => list.reduce((sum, one) => sum + one, 0) / list.length;
  const longer = (1 - SYSTOLE_SHARE) / SYSTOLE_SHARE;
  const systole = systoles.length > 0 ? mean(systoles) : mean(diastoles) / longer;
  const diastole = diastoles.length > 0 ? mean(diastoles) : systole * longer;
  const all = [...events];
  for (let i = 0; i < 4; i++) {
    const [first, last] = [all[0] as Event, all[all.length - 1] as Event];
    all.unshift({ time: first.time - (first.phase % 2 === 0 ? diastole : systole), phase: first.phase - 1 });
    all.push({ time: last.time + (last.phase % 2 === 0 ? systole : diastole), phase: last.phase + 1 });
  }
  return all;
}

/** Phase at a time of a clip. */
export function phaseAt(timed: Timed, time: number): number {
  const events = continued(withTwo(timed));
  let i = 0;
  while (i + 2 < events.length && time >= (events[i + 1] as Event).time) i++;
  const [a, b] = [events[i] as Event, events[i + 1] as Event];
  return a.phase + ((time - a.time) / (b.time - a.time)) * (b.phase - a.phase);
}

/** Time of a clip at which it is in a phase. Whole beats are added or left out so that it lies inside the clip, and there
 * as near as possible to the events that the clip names.
 */
export function timeAtPhase(timed: Timed, phase: number): number {
  const known = withTwo(timed);
  const events = continued(known);
  const [first, last] = [(known[0] as Event).phase, (known[known.length - 1] as Event).phase];
  const begin = timed.times[0] ?? 0;
  const end = timed.times[timed.times.length - 1] ?? begin;
  const beyond = (value: number, low: number, high: number) => Math.max(0, low - value, value - high);
  const choices = Array.from({ length: 41 }, (_, i) => phase + 2 * (i - 20)).map((one) => {
    const time = timeOf(events, one);
    return { time, outside: beyond(time, begin, end), away: beyond(one, first, last) };
  });
  choices.sort((a, b) => a.outside - b.outside || a.away - b.away || a.time - b.time);
  return Math.min(end, Math.max(begin, choices[0]?.time ?? begin));
}

function timeOf(events: Event[], phase: number): number {
  let i = 0;
  while (i + 2 < events.length && phase >= (events[i + 1] as Event).phase) i++;
  const [a, b] = [events[i] as Event, events[i + 1] as Event];
  return a.time + ((phase - a.phase) / (b.phase - a.phase)) * (b.time - a.time);
}
