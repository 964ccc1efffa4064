// What counts against the memory limit of a container, as the kernel says it.
import { expect, test } from 'vitest'
import { groupMemory } from '../../../src/edge/http/cgroup.ts'

const V1_GROUPS = '5:devices:/docker/ab\n4:memory:/docker/ab\n0::/docker/ab\n'
const V1_STAT =
  'cache 900\nrss 500\ninactive_file 1\nactive_file 1\ntotal_rss 500\ntotal_inactive_file 200\ntotal_active_file 100\n'
const V2_STAT =
  'anon 500\nfile 900\nkernel 20\ninactive_anon 500\nactive_anon 0\ninactive_file 200\nactive_file 100\n'
const read = (files: Record<string, string>) => (path: string) => files[path]

test.each([
  [
    'version 2, in a container',
    {
      '/proc/self/cgroup': '0::/\n',
      '/sys/fs/cgroup/memory.current': '1000\n',
      '/sys/fs/cgroup/memory.stat': V2_STAT,
    },
  ],
  [
    'version 2, a service of systemd',
    {
      '/proc/self/cgroup': '0::/system.slice/mcp.service\n',
      '/sys/fs/cgroup/system.slice/mcp.service/memory.current': '1000\n',
      '/sys/fs/cgroup/system.slice/mcp.service/memory.stat': V2_STAT,
    },
  ],
  [
    'version 1, in a container, which sees its group as the root',
    {
      '/proc/self/cgroup': V1_GROUPS,
      '/sys/fs/cgroup/memory/memory.usage_in_bytes': '1000\n',
      '/sys/fs/cgroup/memory/memory.stat': V1_STAT,
    },
  ],
  [
    'version 1, outside of one, where the root is the machine',
    {
      '/proc/self/cgroup': V1_GROUPS.replace('memory', 'cpu,memory'),
      '/sys/fs/cgroup/memory/docker/ab/memory.usage_in_bytes': '1000\n',
      '/sys/fs/cgroup/memory/docker/ab/memory.stat': V1_STAT,
      '/sys/fs/cgroup/memory/memory.usage_in_bytes': '99999\n',
      '/sys/fs/cgroup/memory/memory.stat': V1_STAT,
    },
  ],
])('%s: all but pages of files', (_name, files) => {
  expect(groupMemory(read(files))?.()).toBe(700)
})

test('where there is no telling, nothing is told', () => {
  expect(groupMemory(read({}))).toBeUndefined()
  expect(groupMemory(read({ '/proc/self/cgroup': '0::/\n' }))).toBeUndefined()
  const current = { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.current': '1000\n' }
  expect(groupMemory(read(current))?.()).toBeUndefined()
  const strange = { ...current, '/sys/fs/cgroup/memory.stat': 'active_file 1\n' }
  expect(groupMemory(read(strange))?.()).toBeUndefined()
  const gone = { ...current, '/sys/fs/cgroup/memory.stat': V2_STAT }
  const use = groupMemory(read(gone))
  gone['/sys/fs/cgroup/memory.current'] = ''
  expect(use?.()).toBeUndefined()
})
