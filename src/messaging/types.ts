/** What the messaging room offers: oslo.messaging's calls, casts, fanouts and servers (contract A). */

/** The request context as it travels: the `_context_*` keys without that prefix, kept whole and in order. */
export type WireContext = Readonly<Record<string, unknown>>;

/** Where a message goes. */
export interface Target {
  readonly topic: string;
  /** Named server; absent: any server of the topic. */
  readonly server?: string;
  readonly namespace?: string;
  /** RPC version, as `6.0`. */
  readonly version: string;
}

/** Options of a call. */
export interface CallOptions {
  /** Milliseconds until MessagingTimeout; also the message's expiration. Default `rpc_response_timeout`. */
  readonly timeoutMs?: number;
  /** Call-monitor time-out in milliseconds (`_timeout`, contract A.6): the callee sends signs of life at half of it. */
  readonly monitorMs?: number;
  readonly signal?: AbortSignal;
}

/** Options of a cast or fanout. */
export interface CastOptions {
  /** Gives up a message that still waits for the broker; without it the wait has no end. */
  readonly signal?: AbortSignal;
}

/** The sending half. */
export interface RpcClient {
  /** @throws RemoteFailure what the callee raised; MessagingTimeout; the signal's reason */
  call(target: Target, method: string, args: Record<string, unknown>, context: WireContext, options?: CallOptions): Promise<unknown>;
  /**
   * Resolves when the broker confirmed it.
   * @throws MessageUndeliverable where no queue took it for `kombu_missing_consumer_retry_timeout`; the signal's reason
   */
  cast(target: Target, method: string, args: Record<string, unknown>, context: WireContext, options?: CastOptions): Promise<void>;
  /** To every server of the topic, of which there may be none. Resolves when the broker confirmed it. */
  fanout(target: Target, method: string, args: Record<string, unknown>, context: WireContext, options?: CastOptions): Promise<void>;
}

/** A request as a handler gets it. */
export interface RpcRequest {
  readonly method: string;
  readonly namespace: string | undefined;
  readonly version: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly context: WireContext;
  /** True where the sender waits for an answer. */
  readonly isCall: boolean;
  /** Aborts when the server is stopped for good. */
  readonly signal: AbortSignal;
}

/**
 * One endpoint: a namespace and major version with its methods (contract A.9). `handle` returns the result or throws; what
 * it throws becomes the failure by `toFailure` of the server.
 */
export interface Endpoint {
  readonly namespace: string | undefined;
  /** Highest version it speaks, as `6.5`. */
  readonly version: string;
  has(method: string): boolean;
  handle(request: RpcRequest): Promise<unknown>;
}

/** A failure as it is on the wire (contract A.5). */
export interface Failure {
  readonly class: string;
  readonly module: string;
  readonly message: string;
  readonly tb: readonly string[];
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/** Thrown by `call` when the callee raised. Decide by `className`, never by text. */
export class RemoteFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message.split('\n', 1)[0] ?? failure.class);
    this.name = failure.class;
    this.failure = failure;
  }
  get className(): string {
    // a class that crossed two hops is named `X_Remote` (oslo_messaging/_drivers/common.py)
    return this.failure.class.replace(/_Remote$/, '');
  }
}

/** Thrown by `call` when no answer came in time. */
export class MessagingTimeout extends Error {
  constructor(method: string, topic: string, seconds: number) {
    super(`No answer to ${method} from ${topic} within ${seconds} s`);
    this.name = 'MessagingTimeout';
  }
}

/** Thrown by `cast` when no queue took the message: nobody listens there. */
export class MessageUndeliverable extends Error {
  constructor(exchange: string, routingKey: string) {
    super(`No queue takes messages for ${exchange ? `${exchange}/` : ''}${routingKey}`);
    this.name = 'MessageUndeliverable';
  }
}

/** A running RPC server. */
export interface RpcServer {
  /** Stops consuming, waits up to `graceMs` for what runs, then aborts it. */
  stop(graceMs: number): Promise<void>;
  /** Requests being handled now. */
  readonly running: number;
}
