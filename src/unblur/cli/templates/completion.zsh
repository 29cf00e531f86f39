#compdef unblur

_unblur_completion() {
    local -a answers values explained
    local type value text has_files
    answers=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        _UNBLUR_COMPLETE=zsh_complete "${${(Q)words[1]}/#\~\//$HOME/}" 2>/dev/null)}")
    for type value text in "${answers[@]}"; do
        case $type/$text in
            file/*) has_files=yes ;;
            plain/_) values+=("$value") ;;
            plain/*) explained+=("$value:$text") ;;
        esac
    done
    compset -P '--*=' # complete the value, and keep the option before it
    (( $#explained )) && _describe -V unblur explained
    (( $#values )) && compadd -V unsorted -a values
    [[ -n $has_files ]] && _files
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _unblur_completion "$@"
else
    compdef _unblur_completion unblur
fi
