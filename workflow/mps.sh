#!/usr/bin/env bash
# Runs a command under NVIDIA's Multi-Process Service; `-h` tells more.
# shellcheck disable=SC2317 # functions that traps call
set -euo pipefail

usage() {
    cat <<'END'
usage: workflow/mps.sh COMMAND [ARGUMENT ...]

Runs a command while NVIDIA's Multi-Process Service (MPS) serves the GPUs of this machine, and ends with its exit
status:

  workflow/mps.sh snakemake --cores 8 --resources gpu=8 --config runs_per_gpu=4

Processes that share a GPU take turns on it, in time slices, however little of it each one needs. Under MPS their
kernels run at the same time. That is for networks too small to fill a GPU.

  share     Each process may use the whole GPU. CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50 before the command limits each
            to half of its threads; that reserves nothing, and may change results by rounding.
  limits    48 processes at a time on a GPU (60 since CUDA 13.1, 16 before Volta), all of one user. A process that
            ends in a fatal GPU fault takes those beside it along.
  modes     Default and EXCLUSIVE_PROCESS. NVIDIA recommends the second, in which nothing but MPS can use the GPU; root
            sets it with `nvidia-smi -c EXCLUSIVE_PROCESS`.
  MIG       One instance at a time, named in CUDA_VISIBLE_DEVICES: each needs a daemon of its own.
  daemon    It is started for you alone and stopped after the command, also when a signal ends that. Where one already
            serves $CUDA_MPS_PIPE_DIRECTORY, or NVIDIA's default folder, it is used and left running.
  folders   Sockets and logs lie below $XDG_RUNTIME_DIR or the folder for temporary files, unless
            CUDA_MPS_PIPE_DIRECTORY and CUDA_MPS_LOG_DIRECTORY say otherwise: on a local disk, with a short path.

Jobs that run on other machines get no MPS by this. Its authors have not run it on a GPU so far.
NVIDIA's guide: https://docs.nvidia.com/deploy/mps/
END
}

fail() {
    echo "mps.sh: $1" >&2
    exit 2
}

# Whether a daemon answers at the place that the environment names.
served() {
    echo get_server_list | nvidia-cuda-mps-control > /dev/null 2>&1
}

use_the_daemon_there() {
    echo "mps.sh: an MPS daemon already serves ${CUDA_MPS_PIPE_DIRECTORY:-this machine}; using it" >&2
    exec "$@"
}

stop_daemon() {
    trap - "${SIGNALS[@]}" # another signal ends the waiting for the daemon
    echo quit | nvidia-cuda-mps-control > /dev/null ||
        echo "mps.sh: the MPS daemon has not quit; its log: $CUDA_MPS_LOG_DIRECTORY/control.log" >&2
}

# Hand a signal on to the command; end where there is none yet.
SIGNALS=(HUP INT QUIT TERM USR1)
on_signal() {
    if [[ -z ${!-} ]]; then exit $((128 + $(kill -l "$1"))); fi
    kill -s "$1" "$!" 2> /dev/null || true
}

case ${1-} in
    -h | --help) usage && exit 0 ;;
    "") usage >&2 && exit 2 ;;
esac
[[ -n $(type -P nvidia-cuda-mps-control) ]] ||
    fail "no program nvidia-cuda-mps-control (it comes with NVIDIA's driver for Linux); run the command without mps.sh"
if served; then use_the_daemon_there "$@"; fi

# A daemon calls the first device that it sees 0, which its clients call by another number; UUIDs stay the same.
devices=${CUDA_VISIBLE_DEVICES-all}
case $devices in
    MIG-*,*) several=yes ;;
    MIG-* | GPU-*) several= ;;
    *) several=$(nvidia-smi -L 2> /dev/null | grep --only-matching --max-count=1 "UUID: MIG-" || true) ;;
esac
[[ -z $several ]] || fail "MPS serves one MIG instance at a time; name it: CUDA_VISIBLE_DEVICES=MIG-..."
if [[ $devices =~ ^[0-9,]+$ ]]; then
    devices=$(nvidia-smi --query-gpu=uuid --format=csv,noheader --id="$devices" | paste --serial --delimiters=,) ||
        fail "nvidia-smi tells no UUIDs for CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"
    export CUDA_VISIBLE_DEVICES=$devices
fi

# A daemon serves the devices that it saw when it started: one for each choice of them and each job of Slurm. Slurm
# hands XDG_RUNTIME_DIR from where a job was submitted to where it runs, and there may be no such folder.
temporary=${XDG_RUNTIME_DIR-}
[[ -d $temporary && -w $temporary ]] || temporary=$(dirname "$(mktemp --dry-run)")
key=$(cksum <<< "${SLURM_JOB_ID-} $devices")
export CUDA_MPS_PIPE_DIRECTORY=${CUDA_MPS_PIPE_DIRECTORY:-$temporary/ablations-mps-$UID-${key%% *}}
export CUDA_MPS_LOG_DIRECTORY=${CUDA_MPS_LOG_DIRECTORY:-$CUDA_MPS_PIPE_DIRECTORY/log}
for folder in "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"; do
    (umask 077 && mkdir -p -- "$folder") || fail "$folder: cannot be made"
    [[ -O $folder && ! -L $folder ]] || fail "$folder: belongs to someone else"
done

if served; then use_the_daemon_there "$@"; fi
for signal in "${SIGNALS[@]}"; do
    # shellcheck disable=SC2064 # the signal's name as it is now
    trap "on_signal $signal" "$signal"
done
trap stop_daemon EXIT
if ! nvidia-cuda-mps-control -d >&2; then
    trap - EXIT
    if served; then use_the_daemon_there "$@"; fi # another mps.sh was quicker
    fail "the MPS daemon has not started; its log: $CUDA_MPS_LOG_DIRECTORY/control.log"
fi
for _ in {1..100}; do
    if served; then break; fi
    sleep 0.1
done
served || fail "no MPS daemon answers in $CUDA_MPS_PIPE_DIRECTORY; its log: $CUDA_MPS_LOG_DIRECTORY/control.log"

# A terminal sends INT and QUIT to the command as well. The command runs in the background, so that traps run at once;
# without being told, a shell closes its input there.
trap '' INT QUIT
(trap - INT QUIT && exec "$@") <&0 &
# Only then `wait`: bash loses the exit status where a signal interrupts that just as the command ends.
while kill -0 "$!" 2> /dev/null; do
    { sleep 0.2 || true; } 2> /dev/null
done
wait "$!"
