/** OpenStack's own tests of Nova's moves and server actions, by Tempest: nothing fails, and they did run. */
import test, { type ExecutionContext } from 'ava';
import { Scene } from './lib/scene.js';
import { tempest, type TempestRun } from './lib/tempest.js';

const admin = 'tempest.api.compute.admin';
const actions = 'tempest.api.compute.servers.test_server_actions';

/** Runs them with Haulier up on both hosts. Nothing may fail; `names` (the end of a name) must all have passed, not been skipped. */
async function passes(t: ExecutionContext, expressions: readonly string[], names: readonly string[]): Promise<TempestRun> {
  await Scene.begin(t);
  const result = await tempest(...expressions);
  t.log(`${result.passed.length} passed, ${result.skipped.size} skipped: ${[...new Set(result.skipped.values())].join('; ')}`);
  t.deepEqual(result.failed, [], result.output.slice(0, 20_000));
  t.deepEqual(names.filter((name) => !result.passed.some((passed) => passed.endsWith(name))), [], 'tests that did not run');
  return result;
}

test.serial('migration records, resize with a deleted flavor, cold migration confirmed and reverted', async (t) => {
  const { passed } = await passes(t, [`${admin}.test_migrations`], ['test_cold_migration', 'test_revert_cold_migration', 'test_resize_server_revert_deleted_flavor', 'test_list_migrations_in_flavor_resize_situation']);
  t.is(passed.length, 5);
});

test.serial('live migration, with and without a word about the disk, and what is refused', async (t) => {
  await passes(t, [`${admin}.test_live_migration\\.`, `${admin}.test_live_migration_negative`], [
    'LiveMigrationTest.test_live_block_migration', 'LiveAutoBlockMigrationV225Test.test_live_block_migration', 'LiveMigrationTest.test_live_block_migration_paused',
    'test_invalid_host_for_migration', 'test_live_block_migration_suspended',
  ]);
});

test.serial('server actions: reboot, resize, stop, pause, suspend, lock, rebuild, shelve, backup, console output', async (t) => {
  const { passed } = await passes(t, [`${actions}.ServerActionsTestJSON`, `${actions}.ServerActionsTestOther[AB]`], [
    'test_reboot_server_hard', 'test_resize_server_confirm', 'test_resize_server_revert', 'test_stop_start_server', 'test_suspend_resume_server',
    'test_pause_unpause_server', 'test_lock_unlock_server', 'test_rebuild_server_in_stop_state', 'test_shelve_unshelve_server', 'test_create_backup', 'test_get_console_output',
  ]);
  t.true(passed.length >= 15, `${passed.length} passed`);
});
