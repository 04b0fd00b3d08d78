#!/usr/bin/env bash
# Installs what an image needs to run what build.sh has made: as root in Debian 12. Makes the user that runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends ca-certificates openmpi-bin openssh-client openssh-server python3
useradd --uid 1000 --create-home --password '*' --shell /bin/bash shardtune # '*': nobody logs in with a password, but sshd lets keys in
cp ssh.conf /etc/ssh/ssh_config.d/shardtune.conf
rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* # keys are for one machine, not for all that run an image
