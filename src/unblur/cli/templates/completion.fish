function _unblur_completion
    set -l word (commandline --current-token --cut-at-cursor)
    # The value in --option=value; the option stays before each suggestion.
    set -l option (string match --regex -- '^--[^=]*=' "$word")
    set -l program (commandline --tokenize --current-process)[1]
    for answer in (env COMP_WORDS=(commandline --current-process --cut-at-cursor) COMP_CWORD="$word" \
            _UNBLUR_COMPLETE=fish_complete (string replace --regex "^~/" ~/ $program) 2>/dev/null)
        set -l found (string split --max 1 , -- $answer)
        if test $found[1] = file
            printf '%s\n' "$option"(__fish_complete_path $found[2])
        else
            echo "$option$found[2]"
        end
    end
end

complete --no-files --command unblur --arguments "(_unblur_completion)"
