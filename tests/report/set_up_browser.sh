#!/usr/bin/env bash
# A headless Chromium for the tests of the report's page: the one that is here, else Debian's, else Playwright's own.
set -euo pipefail
python=$1

for name in chromium-headless-shell chromium chromium-browser google-chrome; do
  if command -v "$name" > /dev/null; then exit 0; fi
done
if command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
  echo "setting up: a headless Chromium for the tests of the report (once)"
  apt-get update -qq
  for package in chromium-headless-shell chromium; do
    if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" fonts-dejavu-core > /dev/null; then
      exit 0
    fi
  done
fi
"$python" -m playwright install --only-shell chromium
