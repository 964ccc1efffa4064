import { readFileSync } from 'node:fs'

type Read = (path: string) => string | undefined

const ROOT = '/sys/fs/cgroup'
/** The files of a group, in the two versions (Linux, "Control Group v2", "Memory"; "cgroup-v1/memory"). */
const V2 = { current: 'memory.current', files: /^(?:in)?active_file (\d+)$/gm }
const V1 = { current: 'memory.usage_in_bytes', files: /^total_(?:in)?active_file (\d+)$/gm }

/**
 * How to ask for the bytes that count against the memory limit of this process and that the kernel cannot take back:
 * also those of processes that it started, and of sockets, but no pages of files. Undefined where there is no telling.
 */
export function groupMemory(read: Read = readText): (() => number | undefined) | undefined {
  const groups = read('/proc/self/cgroup') ?? ''
  const v2 = /^0::(\/.*)$/m.exec(groups)?.[1]
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(groups)?.[1]
  // In a container its own group may be the root, whatever it is called outside.
  const places = [
    ...(v2 === undefined ? [] : [{ ...V2, folder: `${ROOT}${v2}` }]),
    ...(v1 === undefined ? [] : [{ ...V1, folder: `${ROOT}/memory${v1}` }]),
    { ...V2, folder: ROOT },
    { ...V1, folder: `${ROOT}/memory` },
  ]
  const place = places.find(({ folder, current }) => read(`${folder}/${current}`) !== undefined)
  if (!place) return undefined
  const { folder, current, files } = place
  return () => {
    const all = Number.parseInt(read(`${folder}/${current}`) ?? '', 10)
    const parts = [...(read(`${folder}/memory.stat`) ?? '').matchAll(files)]
    if (parts.length !== 2) return undefined
    const used = parts.reduce((left, [, bytes]) => left - Number(bytes), all)
    return used > 0 ? used : undefined
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
