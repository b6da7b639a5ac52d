/** Ages of files while the wall clock is set. */
import test from 'ava';
import { Ages } from '../../../src/base/ages.js';

const day = 86_400_000;

for (const jump of [day, -day, 365 * day]) {
  test(`the wall clock is asked once: it jumps by ${jump / day} days`, (t) => {
    let steady = 5000;
    let wall = 1_800_000_000_000;
    const ages = new Ages(() => steady, () => wall);
    const stamp = wall - 60_000;
    t.is(ages.of('a', stamp), 60_000);
    wall += jump;
    steady += 1000;
    t.is(ages.of('a', stamp), 61_000);
    t.is(ages.of('a', wall), 0, 'written anew, whatever the clock said');
    steady += 10;
    t.is(ages.of('a', wall), 10);
    ages.forget('a');
    t.is(ages.of('a', wall + 3600_000), 0, 'from the future: it is new');
  });
}
