export type EnxCode =
  | "NOT_ENX"
  | "CUT_OFF"
  | "TOO_LONG"
  | "VERSION"
  | "HEAD"
  | "TABLE"
  | "GRAPH"
  | "PAYLOAD"
  | "NO_MEMORY"
  | "HTTP";

/** Why a file was refused. `message` is one sentence for people, `code` a word for programs. */
export class EnxError extends Error {
  readonly code: EnxCode;
}

export interface Progress {
  /** Bytes that have arrived. */
  received: number;
  /** Bytes of the whole file; undefined until its head is there. */
  total: number | undefined;
  /** Payloads that have been decoded. */
  decoded: number;
  /** Payloads of the file; undefined until its head is there. */
  payloads: number | undefined;
}

export type Source = Uint8Array | ArrayBuffer | Response | ReadableStream<Uint8Array>;

/** The bytes of the ONNX model in an `.enx` file. Payloads are decoded while the rest still arrives. */
export function decode(source: Source, options?: { onProgress?: (progress: Progress) => void }): Promise<Uint8Array>;

/** What the head says; payloads are not read. `table`: see "Table" of docs/format.md. */
export function inspect(source: Source): Promise<{ table: any; bytes: number; onnxBytes: number }>;

/**
 * A session of onnxruntime-web, which has to be installed, or is given as `ort`. All other options are those of
 * `InferenceSession.create`. `source` may be an address.
 */
export function session(
  source: Source | string | URL,
  options?: { ort?: any; onProgress?: (progress: Progress) => void; [option: string]: any },
): Promise<any>;
