_unblur_completion() {
    local IFS=$'\n' type value has_files=
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            file) has_files=yes ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
        _UNBLUR_COMPLETE=bash_complete "${1/#\~\//"$HOME"/}" 2>/dev/null)
    if [[ -z $has_files ]]; then
        return 0
    elif [[ ${#COMPREPLY[@]} = 0 ]]; then
        compopt -o default # bash itself understands quotes and ~ in what was typed
    else
        compopt -o filenames
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2")
    fi
}

complete -o nosort -F _unblur_completion unblur
