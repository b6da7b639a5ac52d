/** A scripted RPC client for unit tests: each call takes the next step of the script. */
import { RemoteFailure, type RpcClient, type Target, type WireContext } from '../../../src/messaging/types.js';

/** What the script does with a call: an answer, an error to throw, or a function of the arguments. */
export type Step = unknown;

/** A failure as the conductor raises it. */
export function failure(className: string, kwargs: Record<string, unknown> = {}): RemoteFailure {
  return new RemoteFailure({ class: className, module: 'nova.exception', message: `${className} happened`, tb: ['trace'], args: [], kwargs });
}

/** The client. */
export class FakeRpc implements RpcClient {
  readonly sent: { target: Target; method: string; args: Record<string, unknown> }[] = [];
  constructor(readonly script: Step[] = []) {}
  async call(target: Target, method: string, args: Record<string, unknown>, _context?: WireContext): Promise<unknown> {
    this.sent.push({ target, method, args: structuredClone(args) });
    let step = this.script.shift();
    if (typeof step === 'function') step = await (step as (args: Record<string, unknown>) => unknown)(args);
    if (step instanceof Error) throw step;
    return step;
  }
  async cast(target: Target, method: string, args: Record<string, unknown>): Promise<void> {
    await this.call(target, method, args);
  }
  async fanout(target: Target, method: string, args: Record<string, unknown>): Promise<void> {
    await this.call(target, method, args);
  }
}
