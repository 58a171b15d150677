import { decodeAll } from "./pack.js";

onmessage = ({ data }) => decodeAll(data).then(postMessage, (error) => postMessage(String(error)));
