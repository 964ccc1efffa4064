// Gets the SIEM of compose.yaml ready, once it answers: the template of the records, their data stream, the dashboard.
//   node siem-setup.mjs OPENSEARCH_URL DASHBOARDS_URL TEMPLATE_FILE DASHBOARD_FILE READY_FILE
// Records that are there already stay. It goes on asking until all is done, writes READY_FILE for the health check, and
// stays until it is stopped: docker compose up --wait takes a container that ends for one that failed.
import { openAsBlob, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout } from 'node:timers/promises'

const [opensearch, dashboards, template, dashboard, ready] = process.argv.slice(2)
for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => process.exit(0))
const STREAM = 'logs-mcp.audit-default'

/** Asks until it is answered with success, or with one of `fine`. */
async function until(what, ask, fine = () => false) {
  for (let said = ''; ; await setTimeout(2_000)) {
    let problem
    try {
      const answer = await ask()
      const text = await answer.text()
      if (answer.ok || fine(answer.status, text)) return console.log(`${what}: ready`)
      problem = `${answer.status} ${text.slice(0, 300)}`
    } catch (error) {
      problem = error.cause?.code ?? error.message
    }
    // A line for each new problem, not for each try.
    if (problem !== said) console.log(`${what}: ${problem}`)
    said = problem
  }
}
const put = (path, body) =>
  fetch(`${opensearch}${path}`, {
    method: 'PUT',
    ...(body && { headers: { 'content-type': 'application/json' }, body }),
  })

await until('template', () => put('/_index_template/mcp-audit', readFileSync(template)))
await until(
  'data stream',
  () => put(`/_data_stream/${STREAM}`),
  (status, text) => status === 400 && text.includes('resource_already_exists'),
)
await until('dashboard', async () => {
  const form = new FormData()
  form.append('file', await openAsBlob(dashboard), basename(dashboard))
  const url = `${dashboards}/api/saved_objects/_import?overwrite=true`
  return fetch(url, { method: 'POST', headers: { 'osd-xsrf': 'true' }, body: form })
})
writeFileSync(ready, '')
setInterval(() => undefined, 2 ** 30)
