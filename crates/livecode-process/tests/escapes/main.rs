//! What a program tries in order to get out, with everything in force and with a layer left out.
