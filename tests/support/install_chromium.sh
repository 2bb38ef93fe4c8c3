#!/bin/sh
# Makes sure there is a Chromium for the browser tests: installs Debian's where it may, else says which package is missing.
set -u
for name in chromium chromium-browser google-chrome; do command -v "$name" >/dev/null 2>&1 && exit 0; done
if ! command -v apt-get >/dev/null 2>&1; then
  echo "The browser tests are skipped: install Chromium to run them."
elif [ "$(id -u)" = 0 ]; then
  echo "Installing Debian packages for the browser tests: chromium fonts-dejavu-core"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-dejavu-core >/dev/null
elif sudo -n true 2>/dev/null; then
  sudo -n apt-get update -qq && sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-dejavu-core >/dev/null
else
  echo "The browser tests are skipped: they need Debian's packages chromium and fonts-dejavu-core (sudo apt-get install chromium fonts-dejavu-core)."
fi
exit 0
