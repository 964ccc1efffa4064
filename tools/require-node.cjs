// Loaded first (`node -r`): an older Node cannot read the TypeScript files and would fail without saying why.
const need = [24, 14, 1]
const have = process.versions.node.split('.').map(Number)
const older = have[0] - need[0] || have[1] - need[1] || have[2] - need[2]
if (older < 0) {
  process.stderr.write(
    `mcp-opa-sidecar needs Node ${need.join('.')} or later; this is ${process.versions.node}.\n` +
      'On Linux (x64, arm64) and Windows (x64) "npm ci" brings the right one; start it with "npm start" so that it is used.\n' +
      'Elsewhere install Node 24 LTS first.\n',
  )
  process.exit(1)
}
