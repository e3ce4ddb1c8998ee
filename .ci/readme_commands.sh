#!/usr/bin/env bash
# Runs every command of README.md and docs/reference.md, in their order: the lines of their `sh` blocks, and the README's
# complete Python examples in the environment of the API. SKIP is a pattern (regex) of commands that are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

blocks() { # the lines of all blocks in a language; each block ends with an empty line
    awk -v fence="^\`\`\`$1\$" '$0 ~ fence {inside = 1; next} /^```$/ && inside {inside = 0; print ""; next} inside' \
        README.md docs/reference.md
}

ran=0
run() {
    printf '\n$ %s\n' "$1"
    bash -euo pipefail -c "$1" </dev/null
    ran=$((ran + 1))
}

python_examples() { # those that import something can run as they stand; the others are parts of a file
    local block="" line
    while IFS= read -r line; do
        block+=$line$'\n'
        if [[ $line == "# END" ]]; then
            if [[ $block == import* ]]; then
                printf '\n$ python <<README\n%sREADME\n' "$block"
                printf 'python - <<"README"\n%sREADME\n' "$block" | make shell
                ran=$((ran + 1))
            fi
            block=""
        fi
    done < <(awk '/^```python$/ {inside = 1; next} /^```$/ && inside {inside = 0; print "# END"; next} inside' README.md)
}

while IFS= read -r command; do
    [[ -n $command && ! $command =~ ^# ]] || continue
    if [[ -n ${SKIP:-} && $command =~ $SKIP ]]; then
        printf '\n$ %s\n(left out)\n' "$command"
        continue
    fi
    [[ $command != "make restart" ]] || python_examples
    run "$command"
done < <(blocks sh)

echo
echo "$ran commands of the documentation ran"
