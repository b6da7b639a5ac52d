/**
 * Loaded before a program (`--import`): its wall clock is wrong by as many milliseconds as the file HAULIER_TEST_CLOCK says at that moment,
 * which is how it sees a clock that somebody sets. What the kernel stamps is not shifted.
 */
import { readFileSync } from 'node:fs';

const Real = Date;
const file = process.env['HAULIER_TEST_CLOCK'] ?? '';

function shift(): number {
  try {
    return Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    return 0;
  }
}

globalThis.Date = new Proxy(Real, {
  construct: (target, given) => Reflect.construct(target, given.length === 0 ? [Real.now() + shift()] : given) as object,
  get: (target, name) => (name === 'now' ? () => Real.now() + shift() : Reflect.get(target, name) as unknown),
});
