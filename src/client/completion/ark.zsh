#compdef ark
# Completion of ark for zsh. Put it into a directory of $fpath as _ark, or load it with: source <(ark completion zsh)

_ark() {
    local program=${words[1]} line
    local -a found
    (( $+commands[$program] )) || [[ -x $program ]] || program=ark
    for line in "${(@f)$("$program" __complete zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            ('') ;;
            (:files) _files; return ;;
            (*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    _describe ark found
}

if [[ ${funcstack[1]} == _ark ]]; then
    _ark "$@"
else
    compdef _ark ark
fi
