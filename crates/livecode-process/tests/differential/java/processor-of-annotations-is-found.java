public class Main { public static void main(String[] args) { System.out.println("main"); } }
//== META-INF/services/javax.annotation.processing.Processor
Missing
