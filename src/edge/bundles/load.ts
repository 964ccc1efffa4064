import { Worker } from 'node:worker_threads'
import type { Policy, Source } from '../judge/bundle.ts'
import { BundleError } from './failure.ts'
import type { FromLoader, LoaderData } from './loader.ts'

/** Milliseconds: a canary that loops must not keep the next bundle from being tried. */
const WITHIN = 60_000
const HEAP_MB = 512

/**
 * `readPolicy` in a thread of its own: unpacking, compiling and canaries take their time, and calls go on meanwhile.
 * @throws BundleError
 */
export function loadPolicy(sources: Source[], path: string, within: number = WITHIN): Promise<Policy> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./loader.ts', import.meta.url), {
      workerData: { sources, path } satisfies LoaderData,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    })
    const late = setTimeout(
      () =>
        fail(
          new BundleError('canaries', `the bundle was not loaded and its canaries evaluated in ${within} ms`),
        ),
      within,
    )
    const end = () => {
      clearTimeout(late)
      worker.terminate().catch(() => undefined)
    }
    const fail = (error: BundleError) => {
      end()
      reject(error)
    }
    worker.once('message', (message: FromLoader) => {
      end()
      if ('policy' in message) return resolve(message.policy)
      const { code, text, bundle } = message.failure
      const error = new BundleError(code, text)
      error.bundle = bundle
      reject(error)
    })
    worker.once('error', (error: NodeJS.ErrnoException) =>
      fail(
        error.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? new BundleError('memory', `the bundles take more than ${HEAP_MB} MiB to load`)
          : new BundleError('malformed', `the bundles could not be loaded: ${error.message}`),
      ),
    )
    worker.once('exit', () => fail(new BundleError('malformed', 'the loading thread ended')))
  })
}
