/** `haulier haul`: words, the judgement of what another host says, and the service's side. */
import test from 'ava';
import { judgeExamined } from '../../../src/cli/haul-check.js';
import { haulRequest } from '../../../src/cli/haul-request.js';
import { haulCommands } from '../../../src/cli/haul-service.js';
import { HaulBoard } from '../../../src/haul/board.js';
import type { Examined } from '../../../src/haul/examination.js';

test('an address with and without a port, of either family', (t) => {
  for (const [said, address, port] of [['192.0.2.1', '192.0.2.1', undefined], ['192.0.2.1:9', '192.0.2.1', 9], ['2001:db8::1', '2001:db8::1', undefined], ['[2001:db8::1]:9', '2001:db8::1', 9], ['name:9', 'name', 9]] as const) {
    t.deepEqual(haulRequest(['check', '--address', said, 'a', 'b']), { verb: 'check', id: 'a', host: 'b', address, port }, said);
  }
  for (const wrong of ['a b', 'x:0', 'x:70000', '[192.0.2.1]:1', 'x:y']) t.is(typeof haulRequest(['check', '--address', wrong, 'a', 'b']), 'string', wrong);
});

const able = { tracksDirty: null, servesPages: null, takesPages: null };
const good: Examined = { host: 'b', release: '1', misfits: [], memory: able, image: true, lackingTemplates: [], freeBytes: 1000, present: false };
const own = { settings: { policy: { mode: 'auto', permitPostCopy: true } }, memory: able, diskBytes: 600, memoryBytes: 300 } as const;
const stops = (change: Partial<Examined>): string[] => judgeExamined({ ...good, ...change }, { image: 'the image', templates: ['t'] }, own).filter(({ kind }) => kind === 'stops').map(({ text }) => text);

test('what stops a haul at the other host, and what does not', (t) => {
  t.deepEqual(stops({}), []);
  t.deepEqual(stops({ misfits: ['it was made by criu 5, this host has 4'] }), ['it could not go on at b: it was made by criu 5, this host has 4']);
  t.deepEqual(stops({ present: true }), ['something of the server is on b already']);
  t.deepEqual(stops({ freeBytes: 899 }), ['b has 899B free, and the container\'s disk and memory take 900B']);
  t.deepEqual(stops({ image: false }), [], 'an image goes along');
  t.deepEqual(stops({ lackingTemplates: ['t'] }), []);
  const notes = (change: Partial<Examined>): string => judgeExamined({ ...good, ...change }, { image: 'the image', templates: [] }, own).filter(({ kind }) => kind === 'note').map(({ text }) => text).join('\n');
  t.regex(notes({ image: false }), /the image the image is not there: it goes along/);
  t.regex(notes({}), /by post-copy/);
  t.regex(notes({ memory: { ...able, takesPages: 'it has no userfaultfd' } }), /by stop-and-copy \(no pre-copy: its memory is only 0 MiB \(haul_pre_copy_from\); no post-copy: at the destination, it has no userfaultfd\)/);
});

test('a decision needs the place and the word that makes it true', async (t) => {
  const decided: unknown[] = [];
  const { commands: { 'haul-decide': decide } } = haulCommands({ board: new HaulBoard(), decide: async (...what) => void decided.push(what) });
  for (const wrong of [{ id: 'i', place: 'here' }, { id: 'i', place: 'here', sure: 'yes' }, { id: 'i', place: 'both', sure: true }, { place: 'here', sure: true }]) await t.throwsAsync(decide!(wrong), { code: 'BAD_ARGUMENT' });
  t.deepEqual(decided, []);
  await decide!({ id: 'i', place: 'here', sure: true });
  await decide!({ id: 'j', place: 'there', sure: true });
  t.deepEqual(decided, [['i', 'aborted'], ['j', 'committed']]);
});
