import test from 'ava';
import { pipeProblem } from '../../../src/container/checkpoint/lazy.js';

const status = (capabilities: string): string => `Name:\tnode\nCapEff:\t${capabilities}\nCapBnd:\t000001ffffffffff\n`;

test('pitfall: criu\'s page server needs pipes of 16 MiB, or CAP_SYS_RESOURCE; without either no memory is left behind', (t) => {
  const [all, without] = ['000001ffffffffff', '000001fffeffffff'];
  t.is(pipeProblem(status(all), '1048576\n'), undefined);
  t.is(pipeProblem(status(without), '16777216\n'), undefined);
  t.regex(pipeProblem(status(without), '1048576\n') ?? '', /fs\.pipe-max-size is below 16777216.*CAP_SYS_RESOURCE/);
});
