// Where Google's clients are installed (scripts/setup --tests), and how those that
// know no variable are told where the sandbox is.
import {createRequire} from 'node:module';

/** One of Google's packages. */
export const google = createRequire(`${process.env.NODE_CLIENTS}/`);

/** Options of a client of an API (`compute`). */
export function options(api) {
  const address = new URL(process.env[`CLOUDSDK_API_ENDPOINT_OVERRIDES_${api.toUpperCase()}`]);
  return {
    apiEndpoint: address.hostname,
    port: Number(address.port),
    protocol: 'http',
    fallback: true,
    projectId: process.env.GOOGLE_CLOUD_PROJECT,
  };
}
