#!/usr/bin/env bash
# Measures the paper's central claim on synthetic scenes, with two processes on two cores. Run it again after an
# interruption: finished runs and measurements are kept, the run in work goes on from its last checkpoint.
#
#   training/recipes/claim.sh OUT [--budget IMAGES] [--seeds 0,1] [--images SCENES] [--set NAME=VALUE] ...
set -euo pipefail
out=${1:?usage: training/recipes/claim.sh OUT [options of mmms-train claim]}
shift
export OMP_NUM_THREADS=1
torchrun --standalone --nproc-per-node "${PROCESSES:-2}" -m mmms_training claim --out "$out" "$@"
