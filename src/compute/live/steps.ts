/** Fault points of a live migration beside the haul's own (`haul/live/steps.ts`), in order. */

/** The source's, and the one of its rollback. */
export const liveSourceFaultPoints = ['live.queued', 'live.prepared', 'live.running', 'live.hauled', 'live.activated', 'live.taken-over', 'live.rolled-back'] as const;

/** The destination's. */
export const liveDestinationFaultPoints = ['live.plugged', 'live.expected', 'live.bound', 'live.taken'] as const;
