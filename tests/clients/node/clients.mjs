// Where Google's clients are installed (scripts/setup --tests).
import {createRequire} from 'node:module';

/** One of Google's packages. */
export const google = createRequire(`${process.env.NODE_CLIENTS}/`);
