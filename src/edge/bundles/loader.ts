import { parentPort, workerData } from 'node:worker_threads'
import { type Policy, readPolicy, type Source } from '../judge/bundle.ts'
import { BundleError, type Failure } from './failure.ts'

/** What a loading thread is started with, and what it answers. */
export type LoaderData = { sources: Source[]; path: string }
export type FromLoader =
  | { policy: Policy }
  | { failure: { code: Failure; text: string; bundle: string | undefined } }

const port = parentPort
if (port) {
  const { sources, path } = workerData as LoaderData
  port.postMessage(await answer(sources, path))
}

async function answer(sources: Source[], path: string): Promise<FromLoader> {
  try {
    return { policy: await readPolicy(sources, path) }
  } catch (error) {
    if (!(error instanceof BundleError)) throw error
    return { failure: { code: error.code, text: error.message, bundle: error.bundle } }
  }
}
