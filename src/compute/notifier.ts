/** Tells the outside: notifications (off unless configured) and the scheduler's instance cache (contract J). Never in an operation's way. */
import type { Log } from '../base/log.js';
import type { WireContext } from '../messaging/types.js';
import { Instance } from '../nova/instance.js';
import type { NotificationDetails, NotifiedAction, Notifier as NovaNotifier, Phase } from '../nova/notifications.js';
import type { NovaObject } from '../nova/object.js';
import type { Conductor } from '../nova/types.js';

/** What happened to an instance, as `create.start`. */
export type InstanceEvent = `${NotifiedAction}.${Phase}`;

/** Sends in the background; failures are logged. */
export class Notifier {
  constructor(
    private readonly log: Log,
    private readonly conductor: Conductor,
    private readonly host: string,
    /** `[filter_scheduler] track_instance_changes`. */
    private readonly trackChanges: boolean,
    private readonly nova: NovaNotifier,
    private readonly nameTemplate: string,
  ) {}

  /** Emits the notifications of an instance event, with the instance as it is now. @param details what this kind of event says beside it */
  instance(event: InstanceEvent, context: WireContext, instance: NovaObject, error?: unknown, details: NotificationDetails = {}): void {
    const [action, phase] = event.split('.') as [NotifiedAction, Phase];
    void this.nova.emit(context, new Instance(instance, this.nameTemplate), action, phase, error === undefined ? details : { ...details, error });
  }

  /** Tells the schedulers of one changed or gone instance. */
  scheduler(method: 'update_instance_info' | 'delete_instance_info', context: WireContext, instance: NovaObject): void {
    if (!this.trackChanges) return;
    const what = method === 'delete_instance_info' ? { instance_uuid: instance.text('uuid') } : { instance_info: this.conductor.create('InstanceList', { objects: [instance] }) };
    this.#quietly(this.conductor.schedulerFanout(context, method, { host_name: this.host, ...what }), method);
  }

  /** Tells the schedulers of all instances: at the start whole, later their uuids. */
  schedulerAll(context: WireContext, instances: readonly NovaObject[], how: 'whole' | 'uuids'): void {
    if (!this.trackChanges) return;
    if (how === 'whole') this.#quietly(this.conductor.schedulerFanout(context, 'update_instance_info', { host_name: this.host, instance_info: this.conductor.create('InstanceList', { objects: instances }) }), 'update_instance_info');
    else this.#quietly(this.conductor.schedulerFanout(context, 'sync_instance_info', { host_name: this.host, instance_uuids: instances.map((instance) => instance.text('uuid')) }), 'sync_instance_info');
  }

  #quietly(sent: Promise<void>, what: string): void {
    sent.catch((error: unknown) => this.log.warn({ err: error }, `cannot ${what}`));
  }
}
