/** What others hear of our instances (contract J): off unless a driver is set, and never a reason for an operation to fail. */
import type { Log } from '../base/log.js';
import type { Notification, Notify } from '../messaging/notify.js';
import type { WireContext } from '../messaging/types.js';
import type { Instance } from './instance.js';
import { legacyEventType, legacyPayload } from './notification-legacy.js';
import { versionedPayload } from './notification-versioned.js';

/** What is notified, by its versioned name. */
export type NotifiedAction =
  | 'create' | 'delete' | 'soft_delete' | 'restore' | 'shutdown' | 'power_on' | 'power_off' | 'reboot' | 'pause' | 'unpause' | 'suspend' | 'resume'
  | 'rescue' | 'unrescue' | 'rebuild' | 'snapshot' | 'shelve' | 'shelve_offload' | 'unshelve' | 'trigger_crash_dump'
  | 'resize' | 'resize_prep' | 'resize_finish' | 'resize_confirm' | 'resize_revert' | 'interface_attach' | 'interface_detach'
  | 'live_migration_pre' | 'live_migration_post' | 'live_migration_post_dest' | 'live_migration_rollback' | 'live_migration_rollback_dest'
  | 'live_migration_abort' | 'live_migration_force_complete';

/** When it is notified. */
export type Phase = 'start' | 'end' | 'error';

/** Settings, from `[notifications]` and `[oslo_messaging_notifications]`. */
export interface NotificationSettings {
  /** `[DEFAULT] host`. */
  readonly host: string;
  /** `[notifications] notification_format`. */
  readonly format: 'unversioned' | 'versioned' | 'both';
  /** `[oslo_messaging_notifications] topics`. */
  readonly topics: readonly string[];
  /** `[notifications] versioned_notifications_topics`. */
  readonly versionedTopics: readonly string[];
  /** URL of an image at glance. */
  readonly imageUrl?: (image: string) => string;
}

/** More about one notification. */
export interface NotificationDetails {
  /** What went wrong; makes the priority ERROR. */
  readonly error?: unknown;
  /** Added to the unversioned payload, as `{message: 'Success'}`. */
  readonly legacy?: Readonly<Record<string, unknown>>;
  /** Fields of the versioned payload's own class. */
  readonly versioned?: Readonly<Record<string, unknown>>;
  /** Whether the unversioned payload lists `fixed_ips`. */
  readonly network?: boolean;
}

/** Emits notifications about instances. */
export class Notifier {
  readonly #notify: Notify | undefined;
  readonly #settings: NotificationSettings;
  readonly #log: Log;

  /** @param notify undefined where `[oslo_messaging_notifications] driver` is not set: nothing is built and nothing sent */
  constructor(notify: Notify | undefined, settings: NotificationSettings, log: Log) {
    this.#notify = notify;
    this.#settings = settings;
    this.#log = log;
  }

  /** Sends what the format asks for. Never throws: a failure is logged. */
  async emit(context: WireContext, instance: Instance, action: NotifiedAction, phase: Phase, details: NotificationDetails = {}): Promise<void> {
    const notify = this.#notify;
    if (!notify) return;
    try {
      await Promise.all(this.#build(context, instance, action, phase, details).map((notification) => notify(notification)));
    } catch (error) {
      this.#log.warn({ err: error, instance: instance.uuid }, `cannot notify ${action}.${phase}`);
    }
  }

  #build(context: WireContext, instance: Instance, action: NotifiedAction, phase: Phase, details: NotificationDetails): Notification[] {
    const { host, format, topics, versionedTopics, imageUrl } = this.#settings;
    const { error } = details;
    const found: Notification[] = [];
    const eventType = format === 'versioned' ? undefined : legacyEventType(action, phase);
    if (eventType !== undefined) {
      const payload = legacyPayload(instance, { imageUrl, extra: details.legacy, error, network: details.network });
      for (const topic of topics) found.push({ topic, publisherId: `compute.${host}`, eventType, priority: phase === 'error' ? 'ERROR' : 'INFO', payload, context });
    }
    if (format !== 'unversioned') {
      const payload = versionedPayload(context, action, instance, { extra: details.versioned, error });
      for (const topic of versionedTopics) found.push({ topic, publisherId: `nova-compute:${host}`, eventType: `instance.${action}.${phase}`, priority: error === undefined ? 'INFO' : 'ERROR', payload, context });
    }
    return found;
  }
}
