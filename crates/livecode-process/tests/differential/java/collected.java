//= collect: out.txt
//= collect: Main.class.none
public class Main { public static void main(String[] args) throws Exception { java.nio.file.Files.writeString(java.nio.file.Path.of("out.txt"), "x"); } }
