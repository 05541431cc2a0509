#!/bin/sh
# flags template 1 for vLLM 0.24; written by kvplan 0.0.0
# plan page sha256:000000000000; do not edit: solve and export again
# helpdesk-1: 2 replicas of tp1 (2 on h100-reserved)
# helpdesk-2: 2 replicas of tp1 (2 on l40s-spot)
# helpdesk-3: 3 replicas of tp1 (3 on l40s-spot)
# helpdesk-4: 1 replica of tp1 (1 on l40s-spot)
# helpdesk-1: the checkpoint must be llama-3.1-8b with bf16 weights; the engine reads the format from it
# helpdesk-2: the checkpoint must be llama-3.1-8b with bf16 weights; the engine reads the format from it
# helpdesk-3: the checkpoint must be llama-3.1-8b with bf16 weights; the engine reads the format from it
# helpdesk-4: the checkpoint must be llama-3.1-8b with bf16 weights; the engine reads the format from it
set -eu
case "${1-}" in
helpdesk-1)
    shift
    exec vllm serve /models/llama-3.1-8b \
        --served-model-name helpdesk \
        --max-model-len 24576 \
        --max-num-seqs 128 \
        --max-num-batched-tokens 8192 \
        --tensor-parallel-size 1 \
        --kv-cache-dtype auto \
        --gpu-memory-utilization 0.92 \
        --port 8000 \
        "$@"
    ;;
helpdesk-2)
    shift
    exec vllm serve /models/llama-3.1-8b \
        --served-model-name helpdesk \
        --max-model-len 24576 \
        --max-num-seqs 64 \
        --max-num-batched-tokens 2048 \
        --tensor-parallel-size 1 \
        --kv-cache-dtype auto \
        --gpu-memory-utilization 0.92 \
        --port 8000 \
        "$@"
    ;;
helpdesk-3)
    shift
    exec vllm serve /models/llama-3.1-8b \
        --served-model-name helpdesk \
        --max-model-len 24576 \
        --max-num-seqs 64 \
        --max-num-batched-tokens 2048 \
        --tensor-parallel-size 1 \
        --kv-cache-dtype auto \
        --gpu-memory-utilization 0.92 \
        --port 8000 \
        "$@"
    ;;
helpdesk-4)
    shift
    exec vllm serve /models/llama-3.1-8b \
        --served-model-name helpdesk \
        --max-model-len 24576 \
        --max-num-seqs 96 \
        --max-num-batched-tokens 2048 \
        --tensor-parallel-size 1 \
        --kv-cache-dtype auto \
        --gpu-memory-utilization 0.92 \
        --port 8000 \
        "$@"
    ;;
*)
    printf '%s\n' 'usage: serve.sh helpdesk-1|helpdesk-2|helpdesk-3|helpdesk-4 [more flags]' >&2
    exit 2
    ;;
esac
