# longest_call.gnuplot - how many calls took how long while their function was changed again and again, and beside it
# without a change. Every bar stands for twice as long a time as the one before it.

name = 'longest_call'
height = 480
heading = 'How long a call takes while its function is changed'
subheading = 'number of calls that took between two times; logarithmic scales'
load 'style.gnuplot'

changed = 'longest_call.dat'
quiet = 'longest_call_quiet.dat'
if (system('test -e ' . quiet . ' && echo yes') ne 'yes') quiet = changed
title(file) = system("sed -n '1s/^# *//p' " . file)

# A bar's place is the logarithm of the time it ends with. Only those are shown that are not empty in either file.
place(us) = log(us) / log(2)
stats changed using ($3 > 0 ? place($2) : NaN):3 nooutput name 'changed'
stats quiet using ($3 > 0 ? place($2) : NaN):3 nooutput name 'quiet'
lower(a, b) = a < b ? a : b
higher(a, b) = a > b ? a : b

set logscale y
set yrange [0.5 : higher(changed_max_y, quiet_max_y) * 30]
set xrange [lower(changed_min_x, quiet_min_x) - 1.5 : higher(changed_max_x, quiet_max_x) + 0.5]
set ytics @counts
set grid noxtics ytics
set lmargin at screen 0.125
set rmargin at screen 0.97
set style fill solid noborder
set key right top reverse Left

# Between the bars stand the times.
duration(us) = us < 0.9995 ? sprintf("%.0f ns", us * 1e3) : us < 999.5 ? sprintf("%.0f µs", us) : \
	us < 999.5e3 ? sprintf("%.0f ms", us / 1e3) : sprintf("%.0f s", us / 1e6)
count(n) = n > 0 ? n : NaN
set xtics rotate by 0 font ',11'
plot changed using (place($2) - 0.72):(count($3)):(0.4) with boxes linecolor rgb blue title title(changed), \
	quiet using (quiet eq changed ? NaN : place($2) - 0.3):(count($3)):(0.4) with boxes linecolor rgb blue_3 \
		title (quiet eq changed ? '' : title(quiet)), \
	changed using (place($2)):(NaN):xtic(duration($2)) with points notitle
