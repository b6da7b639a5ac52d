/** `[notifications]` (nova/conf/notifications.py) and `[oslo_messaging_notifications]` (oslo.messaging notify/notifier.py). */
import { boolean, choice, integer, list, multi, text, type Section } from '../option.js';

/** What is sent. */
export const notifications = {
  help: 'Which notifications are sent.',
  options: {
    notification_format: choice(['unversioned', 'versioned', 'both'], { default: 'unversioned', deprecated: ['DEFAULT.notification_format'], help: 'Which of the two kinds.' }),
    notify_on_state_change: choice(['vm_state', 'vm_and_task_state'], { deprecated: ['DEFAULT.notify_on_state_change'], help: 'Send compute.instance.update when these change; not at all by default.' }),
    versioned_notifications_topics: list({ default: ['versioned_notifications'], help: 'Topics of the versioned ones.' }),
    default_level: choice(['DEBUG', 'INFO', 'WARN', 'ERROR', 'CRITICAL'], { default: 'INFO', deprecated: ['DEFAULT.default_notification_level'], help: 'Level of those that have none.' }),
    bdms_in_notifications: boolean({ default: false, help: 'Put block devices into the versioned ones.' }),
  },
} satisfies Section;

/** How it is sent. */
export const oslo_messaging_notifications = {
  help: 'How notifications are sent.',
  options: {
    driver: multi({ default: [], deprecated: ['DEFAULT.notification_driver'], help: 'messaging, messagingv2, log, noop; may be repeated. None by default.' }),
    transport_url: text({ secret: true, deprecated: ['DEFAULT.notification_transport_url'], help: 'Broker for notifications; that of [DEFAULT] if not set.' }),
    topics: list({ default: ['notifications'], deprecated: ['rpc_notifier2.topics', 'DEFAULT.notification_topics'], help: 'Topics of the unversioned ones.' }),
    retry: integer({ default: -1, help: 'How often sending is retried; -1: without end.' }),
  },
} satisfies Section;
