# Completion of ark for bash. Load it with: source <(ark completion bash)

_ark() {
    local program=$1 line
    type -P "$program" >/dev/null || program=ark
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default 2>/dev/null
        else
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done < <("$program" __complete bash -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null)
}

complete -F _ark ark
