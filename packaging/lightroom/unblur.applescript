-- Lightroom Classic, After Export: deblur the exported files; keep each as NAME.orig.
-- osacompile -o Unblur.app unblur.applescript

on open photos
	set names to ""
	repeat with photo in photos
		set names to names & " " & quoted form of POSIX path of photo
	end repeat
	set places to "PATH=$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:$PATH; "
	try
		do shell script places & "unblur --in-place --quiet --" & names
		display notification "The exported photos are deblurred." with title "unblur"
	on error said
		display alert "unblur" message said as critical
	end try
end open
