//= any-temperature
//= env: JDK_JAVA_OPTIONS=-Down=1
//= env: JDK_JAVAC_OPTIONS=-Xlint
public class Main { public static void main(String[] args) { System.out.println(System.getProperty("own")); } }
