import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.file.Files;

/**
 * Java's compiler, for a JVM that is started before there is a program: compiles a sample a few times, waits, and is then
 * what {@code javac} would be, with the same arguments.
 *
 * <p>It waits in an ordinary attempt to open a file in the work directory, as every interpreter that is booted ahead.
 */
final class WarmCompiler {
    /** More takes longer ahead, and gains little: 29 ms for a small program after 3, 22 after 8. */
    private static final int ROUNDS = 4;

    private WarmCompiler() {}

    public static void main(String[] arguments) throws IOException {
        String jar = System.getProperty("java.class.path");
        warmUp(new File(jar + ".d"));
        beJavac(arguments);
        try {
            new FileInputStream("program").close();
        } catch (IOException notThere) {
            // But by now there is one, by another name.
        }
        System.exit(com.sun.tools.javac.Main.compile(arguments));
    }

    private static void warmUp(File directory) throws IOException {
        File source = new File(directory, "Sample.java");
        directory.mkdir();
        try (InputStream sample = WarmCompiler.class.getResourceAsStream("Sample.java")) {
            Files.copy(sample, source.toPath());
        }
        String place = directory.getPath();
        String[] arguments = {"-encoding", "UTF-8", "-cp", place, "-d", place, source.getPath()};
        for (int round = 0; round < ROUNDS; round++) {
            com.sun.tools.javac.Main.compile(arguments, new PrintWriter(Writer.nullWriter()));
        }
        for (File file : directory.listFiles()) {
            file.delete();
        }
        directory.delete();
    }

    /** Has the properties that it would have as {@code javac}, for annotation processors. */
    private static void beJavac(String[] arguments) {
        String main = "com.sun.tools.javac.Main";
        System.setProperty("java.class.path", "");
        System.setProperty("jdk.module.main", "jdk.compiler");
        System.setProperty("jdk.module.main.class", main);
        System.setProperty("sun.java.command", "jdk.compiler/" + main + " " + String.join(" ", arguments));
        System.clearProperty("user.timezone");
    }
}
