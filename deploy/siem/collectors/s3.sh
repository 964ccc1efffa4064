#!/bin/sh
# S3, by the AWS CLI: the closed files of a spool, each under its own name, from cron or a CronJob with the same volume:
#   s3.sh /var/lib/mcp-opa-sidecar s3://mcp-audit/github-mcp-0
# A closed file never changes, so the copy is the record itself: `verify` on a folder of it proves it. Nothing is deleted
# there, and the spool deletes nothing because of it: keep max_age well above the time between two runs, segment_age low,
# and the bucket under an object lock.
set -eu
folder=$1
to=${2%/}
# The newest is still written.
newest=$(cd "$folder" && find . -maxdepth 1 -name 'decisions-*.jsonl' | sort | tail -n 1)
aws s3 sync "$folder" "$to" --size-only --no-progress \
  --exclude '*' --include 'decisions-*.jsonl' --include log.json --exclude "${newest#./}"
# The newest checkpoint has its size in its name: none replaces another.
if [ -f "$folder/checkpoint" ]; then
  aws s3 cp "$folder/checkpoint" "$to/checkpoints/$(sed -n 2p "$folder/checkpoint")" --no-progress
fi
