/** Which name did they mean? */

function distance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[right.length]!;
}

/** The name of `names` that takes the fewest changed letters to become `wrong`; undefined if none is close (half of its letters, at most 5). */
export function nearest(wrong: string, names: Iterable<string>): string | undefined {
  const fold = (name: string): string => name.toLowerCase().replaceAll('-', '_');
  const limit = Math.min(5, Math.ceil(wrong.length / 2));
  let best: { name: string; far: number } | undefined;
  for (const name of names) {
    const far = distance(fold(wrong), fold(name));
    if (far <= limit && (!best || far < best.far)) best = { name, far };
  }
  return best?.name;
}
