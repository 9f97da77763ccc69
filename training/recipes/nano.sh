#!/usr/bin/env bash
# Trains the shipped `nano` checkpoint from nothing on synthetic scenes, in five phases, each of which starts from
# the one before. Run it again after an interruption: finished phases are skipped, the others resume.
#
#   training/recipes/nano.sh OUT        # writes OUT/nano.safetensors
set -euo pipefail
out=${1:?usage: training/recipes/nano.sh OUT}
export OMP_NUM_THREADS=1

phase() { # name, then what to start from (or "nothing"), then settings
  local name=$1 start=$2 settings=()
  shift 2
  for setting in "$@"; do settings+=(--set "$setting"); done
  [[ $start == nothing ]] || settings+=(--weights "$out/$start")
  torchrun --standalone --nproc-per-node 2 -m mmms_training --recipe nano --out "$out/$name" \
    --publish "$out/$name/nano.safetensors" "${settings[@]}"
}

# 1. Features that tell surfaces apart; no click network yet, so a step is cheap.
phase 1-features nothing seed=21 has_lateral=false steps=1600 feature_steps=1600 warmup_steps=50 learning_rate=0.003 \
  batch_size=12 resolution=192 'crop_scale=[0.4,0.9]' scene_reuse=4

# 2. The click network alone, on those features, on small crops.
phase 2-clicks 1-features seed=22 has_lateral=false steps=1000 is_encoder_frozen=true feature_steps=0 \
  learning_rate=0.002 final_share=0.2 batch_size=16 resolution=128 'crop_scale=[0.3,0.65]' min_area_px=32 \
  clicks.max_next=4 scene_reuse=4

# 3. Both together; it ends at half of the cosine, because the next phase goes on.
phase 3-joint 2-clicks seed=23 has_lateral=false steps=500 schedule_steps=900 feature_steps=0 affinity_weight=0.5 \
  learning_rate=0.001 final_share=0.1 batch_size=12 resolution=192 'crop_scale=[0.4,0.9]' clicks.max_next=5 scene_reuse=4

# 4. Whole scenes near the resolution at which the network is served.
phase 4-large 3-joint seed=24 has_lateral=false steps=500 feature_steps=0 affinity_weight=0.3 learning_rate=0.0008 \
  warmup_steps=20 batch_size=6 surfaces_per_image=4 resolution=320 scene_px=256 'crop_scale=[0.6,1.0]' min_area_px=80 \
  clicks.max_next=4 clicks.centre_share=0.7

# 5. The other sensors: lateral connections join, more borders are hidden from RGB, and in four of ten samples night, fog
#    or a covered lens leave hardly anything else to look at.
phase 5-sensors 4-large seed=25 steps=600 has_lateral=true image_dropout=0.4 modality_dropout=0.15 invisible_share=0.4 \
  feature_steps=0 affinity_weight=0.5 learning_rate=0.001 warmup_steps=30 batch_size=8 resolution=256 scene_px=256 \
  'crop_scale=[0.5,1.0]' min_area_px=60 clicks.max_next=3 clicks.centre_share=0.7

cp "$out/5-sensors/nano.safetensors" "$out/nano.safetensors"
