# shellcheck shell=bash
# What every job here does first. Jobs are submitted from the folder that holds .venv, and run there.
set -euo pipefail
# Modules of the cluster go here, the same with which launch/setup.sh was run:
#   module load gcc openmpi cuda nccl
[ -e .venv/bin/activate ] || { echo "$PWD has no .venv. Submit the job from the folder in which launch/setup.sh made it." >&2; exit 1; }
# shellcheck source=/dev/null
source .venv/bin/activate
export SLURM_NTASKS=${SLURM_NTASKS:-1} # else srun starts as many tasks as have room on a node that the job has for itself
# Where SLURM has no PMIx (srun --mpi=list): LAUNCHER="mpirun --bind-to none". In a container:
#   LAUNCHER="srun --mpi=pmix --kill-on-bad-exit=1 apptainer exec --nv image.sif"
# shellcheck disable=SC2034 # for those that source this
read -ra launcher <<<"${LAUNCHER:-srun --mpi=pmix --cpus-per-task=${SLURM_CPUS_PER_TASK:-1} --kill-on-bad-exit=1}"
set -- "${@//%a/${SLURM_ARRAY_TASK_ID-}}" # as in SLURM's own file names
