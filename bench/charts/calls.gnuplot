# calls.gnuplot - a pair of bars per kind of call, 1 and 2 threads, with nanoseconds and the ratio to the plain call.

name = 'calls'
height = 680
heading = 'What a call costs'
subheading = 'nanoseconds per call, and how many times a plain call that is; medians; logarithmic scale'
load 'style.gnuplot'

stats 'calls.dat' using 2 nooutput name 'one'
stats 'calls.dat' using 4 nooutput name 'two'
stats 'calls.dat' using 2 every ::0::0 nooutput name 'plain'
kinds = one_records
least = (one_min < two_min ? one_min : two_min) / 2
most = (one_max > two_max ? one_max : two_max)

set logscale x
set xrange [least : most * 3.5]
set yrange [kinds - 0.4 : -0.6]
set border 2
unset xtics
set ytics scale 0
unset grid
set key at graph 1, graph 0.99 right top reverse Left invert
set lmargin at screen 0.345
set rmargin at screen 0.98
set bmargin at screen 0.02

short(ns) = ns < 10 ? sprintf("%.2f", ns) : sprintf("%.1f", ns)
ratio(r) = r < 10 ? sprintf("%.2f", r) : sprintf("%.0f", r)
text(ns, r) = short(ns) . " ns  ×" . ratio(r)
bar = 0.36
gap = 0.02

# The floor of the machine.
set arrow 1 from first plain_min, graph 0 to first plain_min, graph 1 nohead linecolor rgb '#bbbbbb' dashtype 3 back

set style fill solid noborder
plot \
	'calls.dat' using 4:($0 + gap):(least):4:($0 + gap):($0 + gap + bar):ytic(1) \
		with boxxyerror linecolor rgb blue_3 title '2 threads', \
	'calls.dat' using 2:($0 - gap):(least):2:($0 - gap - bar):($0 - gap) \
		with boxxyerror linecolor rgb blue title '1 thread', \
	'calls.dat' using 2:($0 - gap - bar / 2):(text($2, $3)) \
		with labels left offset 0.7,0 font ',12' textcolor rgb ink notitle, \
	'calls.dat' using 4:($0 + gap + bar / 2):(text($4, $5)) \
		with labels left offset 0.7,0 font ',12' textcolor rgb grey notitle
