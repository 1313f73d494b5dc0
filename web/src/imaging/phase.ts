/** Phase of the beat, so that two clips of other frame rates and heart rates move in step.
 *
 * Whole numbers are events: 0, 2, 4 … are end-diastoles, 1, 3, 5 … the end-systoles between them. Between events the
 * phase is linear in time; outside the first and last event it goes on as fast as in the nearest stretch.
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

/** Phase at a time of a clip. */
export function phaseAt(timed: Timed, time: number): number {
  const events = withTwo(timed);
  let i = 0;
  while (i + 2 < events.length && time >= (events[i + 1] as Event).time) i++;
  const [a, b] = [events[i] as Event, events[i + 1] as Event];
  return a.phase + ((time - a.time) / (b.time - a.time)) * (b.phase - a.phase);
}

/** Time of a clip at which it is in a phase; whole beats are added or left out until it lies inside the clip. */
export function timeAtPhase(timed: Timed, phase: number): number {
  const events = withTwo(timed);
  const begin = timed.times[0] ?? 0;
  const end = timed.times[timed.times.length - 1] ?? begin;
  let best = begin;
  let distance = Infinity;
  for (let beats = -20; beats <= 20; beats++) {
    const time = timeOf(events, phase + 2 * beats);
    const away = time < begin ? begin - time : time > end ? time - end : 0;
    if (away < distance - 1e-9) {
      distance = away;
      best = time;
    }
    if (away === 0) break;
  }
  return Math.min(end, Math.max(begin, best));
}

function timeOf(events: Event[], phase: number): number {
  let i = 0;
  while (i + 2 < events.length && phase >= (events[i + 1] as Event).phase) i++;
  const [a, b] = [events[i] as Event, events[i + 1] as Event];
  return a.time + ((phase - a.phase) / (b.phase - a.phase)) * (b.time - a.time);
}
