/** Decodes files of the conformance pack: for each name a code, or the SHA-256 of the model. */
import { decode } from "/js/index.js";

export async function decodeAll(names) {
  const found = {};
  for (const name of names) {
    try {
      const model = await decode(await fetch(`/tests/conformance/${name}`));
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", model));
      found[name] = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    } catch (error) {
      if (error.name !== "EnxError" || error.message.length < 10) throw error;
      found[name] = error.code;
    }
  }
  return found;
}
